//! The plugin that `make bench` loads into both proxies: two reads and one addition on the request,
//! two additions on the response, nothing else.

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, LogLevel};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Warn);
    proxy_wasm::set_http_context(|_, _| -> Box<dyn HttpContext> { Box::new(BenchHeaders) });
}}

struct BenchHeaders;

impl Context for BenchHeaders {}

impl HttpContext for BenchHeaders {
    fn on_http_request_headers(&mut self, _num_headers: usize, _end_of_stream: bool) -> Action {
        let path = self.get_http_request_header(":path");
        let agent = self.get_http_request_header("user-agent");
        // The value depends on both reads, so that no compiler may drop one.
        let seen = match (path.is_some(), agent.is_some()) {
            (true, true) => "path,agent",
            (true, false) => "path",
            (false, true) => "agent",
            (false, false) => "none",
        };
        self.add_http_request_header("x-bench-seen", seen);
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _num_headers: usize, _end_of_stream: bool) -> Action {
        self.add_http_response_header("x-bench-plugin", "bench-headers");
        self.add_http_response_header("x-bench-version", "1");
        Action::Continue
    }
}
