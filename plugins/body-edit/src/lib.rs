//! Replaces text in bodies, in both directions.

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};
use serde::Deserialize;
use std::rc::Rc;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Warn);
    proxy_wasm::set_root_context(|_| -> Box<dyn RootContext> { Box::new(Root::default()) });
}}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Replacement {
    find: String,
    replace: String,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    request: Option<Replacement>,
    response: Option<Replacement>,
}

#[derive(Default)]
struct Root {
    config: Rc<Config>,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _plugin_configuration_size: usize) -> bool {
        match self.get_plugin_configuration() {
            None => true,
            Some(bytes) => match serde_json::from_slice(&bytes) {
                Ok(config) => {
                    self.config = Rc::new(config);
                    true
                }
                Err(_) => false,
            },
        }
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(BodyEdit { config: Rc::clone(&self.config) }))
    }
}

struct BodyEdit {
    config: Rc<Config>,
}

impl Context for BodyEdit {}

impl HttpContext for BodyEdit {
    fn on_http_request_body(&mut self, body_size: usize, end_of_stream: bool) -> Action {
        let edit = match &self.config.request {
            Some(edit) => edit,
            None => return Action::Continue,
        };
        if !end_of_stream {
            return Action::Pause;
        }
        let (start_offset, length) = (0, body_size);

        // Get body
        let body = self.get_http_request_body(start_offset, length);

        let new_body = &edit.apply(&body.unwrap_or_default());

        // Set body
        self.set_http_request_body(start_offset, length, new_body);
        Action::Continue
    }

    fn on_http_response_body(&mut self, body_size: usize, end_of_stream: bool) -> Action {
        let config = Rc::clone(&self.config);
        let edit = match &config.response {
            Some(edit) => edit,
            None => return Action::Continue,
        };
        let transform_body = |body: &[u8]| edit.apply(body);
        // The example sees only what is still here at the end: hold the chunks before it.
        if !end_of_stream {
            return Action::Pause;
        }

        if end_of_stream {
            if let Some(body) = self.get_http_response_body(0, body_size) {
                // Transform response
                let transformed = transform_body(&body);
                self.set_http_response_body(0, body_size, &transformed);
            }
        }
        Action::Continue
    }
}

impl Replacement {
    /// `body` with every occurrence of `find` replaced; an empty `find` changes nothing.
    fn apply(&self, body: &[u8]) -> Vec<u8> {
        let (find, replace) = (self.find.as_bytes(), self.replace.as_bytes());
        let mut out = Vec::with_capacity(body.len());
        let mut rest = body;
        while !rest.is_empty() {
            if !find.is_empty() && rest.starts_with(find) {
                out.extend_from_slice(replace);
                rest = &rest[find.len()..];
            } else {
                out.push(rest[0]);
                rest = &rest[1..];
            }
        }
        out
    }
}
