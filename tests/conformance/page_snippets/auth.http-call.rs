fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
    // Async HTTP call
    match self.dispatch_http_call(
        "auth-service",  // upstream name
        vec![
            (":method", "POST"),
            (":path", "/validate"),
            (":authority", "auth.internal"),
        ],
        Some(b"token"),
        vec![],
        Duration::from_secs(5),
    ) {
        Ok(call_id) => {
            self.pending_call = Some(call_id);
            Action::Pause  // Wait for response
        }
        Err(_) => Action::Continue,
    }
}

fn on_http_call_response(
    &mut self,
    _token_id: u32,
    _num_headers: usize,
    _body_size: usize,
    _num_trailers: usize,
) {
    if let Some(body) = self.get_http_call_response_body(0, _body_size) {
        // Handle response
    }
    self.resume_http_request();
}
