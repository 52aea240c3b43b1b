fn on_http_request_body(&mut self, body_size: usize, end_of_stream: bool) -> Action {
    if !end_of_stream {
        return Action::Pause; // Wait for complete body
    }

    if let Some(body) = self.get_http_request_body(0, body_size) {
        // Validate JSON
        if !is_valid_json(&body) {
            self.send_http_response(400, vec![], Some(b"Invalid JSON"));
            return Action::Pause;
        }
    }
    Action::Continue
}
