fn on_log(&mut self) {
    let status = self.get_http_response_header(":status").unwrap_or_default();
    let duration = self.get_property(vec!["request", "duration"]).unwrap_or_default();

    log::info!(
        "Request completed: status={}, duration={}ms",
        status,
        u64::from_le_bytes(duration.try_into().unwrap())
    );
}
