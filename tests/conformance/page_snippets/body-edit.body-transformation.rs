fn on_http_response_body(&mut self, body_size: usize, end_of_stream: bool) -> Action {
    if end_of_stream {
        if let Some(body) = self.get_http_response_body(0, body_size) {
            // Transform response
            let transformed = transform_body(&body);
            self.set_http_response_body(0, body_size, &transformed);
        }
    }
    Action::Continue
}
