//! Writes two lines per request into the plugin log: the outcome, and who asked for what.

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::LogLevel;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_http_context(|_, _| -> Box<dyn HttpContext> { Box::new(AccessLog) });
}}

struct AccessLog;

impl Context for AccessLog {}

impl HttpContext for AccessLog {
    fn on_log(&mut self) {
        let status = self.get_http_response_header(":status").unwrap_or_default();
        let duration = self.get_property(vec!["request", "duration"]).unwrap_or_default();

        log::info!(
            "Request completed: status={}, duration={}ms",
            status,
            u64::from_le_bytes(duration.try_into().unwrap())
        );
        self.log_origin();
    }
}

impl AccessLog {
    fn log_origin(&self) {
        // Get client address
        let addr = self.get_property(vec!["source", "address"]);

        // Get route ID
        let route = self.get_property(vec!["route", "id"]);

        // Get request ID
        let req_id = self.get_property(vec!["request", "id"]);

        log::info!("Request origin: client={}, route={}, id={}", text(addr), text(route), text(req_id));
    }
}

/// A property as text; `-` when the host does not have it.
fn text(property: Option<Vec<u8>>) -> String {
    property.map_or_else(|| "-".into(), |raw| String::from_utf8_lossy(&raw).into_owned())
}
