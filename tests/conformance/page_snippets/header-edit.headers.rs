// Get header
let value = self.get_http_request_header("Content-Type");

// Get all headers
let headers = self.get_http_request_headers();

// Add header
self.add_http_request_header("X-Custom", "value");

// Set header (replace if exists)
self.set_http_request_header("X-Custom", "value");

// Remove header
self.remove_http_request_header("X-Unwanted");
