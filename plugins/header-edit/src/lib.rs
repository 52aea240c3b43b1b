//! Edits headers in both directions; without a configuration it does what the plugin page's examples do.

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::rc::Rc;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Debug);
    proxy_wasm::set_root_context(|_| -> Box<dyn RootContext> { Box::new(Root::default()) });
}}

/// The edits of one direction, applied in this order: remove, set, add.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Edits {
    remove: Vec<String>,
    set: BTreeMap<String, String>,
    add: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    request: Option<Edits>,
    response: Option<Edits>,
}

#[derive(Default)]
struct Root {
    config: Rc<Config>,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _plugin_configuration_size: usize) -> bool {
        let bytes = self.get_plugin_configuration().unwrap_or_default();
        if bytes.is_empty() {
            return true;
        }
        match serde_json::from_slice(&bytes) {
            Ok(config) => {
                self.config = Rc::new(config);
                true
            }
            Err(why) => {
                log::error!("header-edit: {}", why);
                false
            }
        }
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(HeaderEdit { config: Rc::clone(&self.config) }))
    }
}

struct HeaderEdit {
    config: Rc<Config>,
}

impl Context for HeaderEdit {}

impl HttpContext for HeaderEdit {
    fn on_http_request_headers(&mut self, _num_headers: usize, _end_of_stream: bool) -> Action {
        match &self.config.request {
            Some(edits) => {
                for name in &edits.remove {
                    self.remove_http_request_header(name);
                }
                for (name, value) in &edits.set {
                    self.set_http_request_header(name, value);
                }
                for (name, value) in &edits.add {
                    self.add_http_request_header(name, value);
                }
            }
            None => self.example(),
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _num_headers: usize, _end_of_stream: bool) -> Action {
        if let Some(edits) = &self.config.response {
            for name in &edits.remove {
                self.set_http_response_header(name, None);
            }
            for (name, value) in &edits.set {
                self.set_http_response_header(name, Some(value));
            }
            for (name, value) in &edits.add {
                self.add_http_response_header(name, value);
            }
            return Action::Continue;
        }
        // Add security headers
        self.add_http_response_header("X-Content-Type-Options", "nosniff");
        self.add_http_response_header("X-Frame-Options", "DENY");
        Action::Continue
    }
}

/// The examples call two methods in a form that the SDK does not have; these stand before the SDK's.
impl HeaderEdit {
    fn set_http_request_header(&self, name: &str, value: &str) {
        HttpContext::set_http_request_header(self, name, Some(value));
    }

    fn remove_http_request_header(&self, name: &str) {
        HttpContext::set_http_request_header(self, name, None);
    }
}

impl HeaderEdit {
    fn example(&self) {
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

        log::debug!("{} headers, content-type {:?}", headers.len(), value);
    }
}
