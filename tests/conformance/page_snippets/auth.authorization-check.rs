fn on_http_request_headers(&mut self, _num_headers: usize, _end_of_stream: bool) -> Action {
    // Check authorization
    if let Some(auth) = self.get_http_request_header("Authorization") {
        if !validate_token(&auth) {
            self.send_http_response(401, vec![], Some(b"Unauthorized"));
            return Action::Pause;
        }
    }
    Action::Continue
}
