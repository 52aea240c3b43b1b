// Get body
let body = self.get_http_request_body(start_offset, length);

// Set body
self.set_http_request_body(start_offset, length, new_body);
