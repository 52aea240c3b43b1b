//! Refuses a request whose body is not JSON, and holds the body back until it knows.

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, LogLevel};
use serde::de::IgnoredAny;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Warn);
    proxy_wasm::set_http_context(|_, _| -> Box<dyn HttpContext> { Box::new(JsonGuard) });
}}

struct JsonGuard;

impl Context for JsonGuard {}

impl HttpContext for JsonGuard {
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
}

/// One JSON text and nothing after it (RFC 8259); no value is built.
fn is_valid_json(body: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(body).is_ok()
}

#[cfg(test)]
mod tests {
    use super::is_valid_json;

    #[test]
    fn json_and_not_json() {
        assert!(is_valid_json(b" {\"a\": [1, null, \"\\u00e9\"]} "));
        for body in [&b"{"[..], b"{} {}", b"{'a': 1}", b"nul", b"[1,]"] {
            assert!(!is_valid_json(body));
        }
    }
}
