fn on_http_response_headers(&mut self, _num_headers: usize, _end_of_stream: bool) -> Action {
    // Add security headers
    self.add_http_response_header("X-Content-Type-Options", "nosniff");
    self.add_http_response_header("X-Frame-Options", "DENY");
    Action::Continue
}
