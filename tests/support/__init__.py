"""What e2e, fault and conformance tests share: servers, the accounting client, raw sockets."""
