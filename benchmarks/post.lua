-- wrk -s post.lua URL -- BYTES: POST a body of that many bytes, with Content-Length.
function init(args)
  wrk.method = "POST"
  wrk.body = string.rep("x", tonumber(args[1]))
end
