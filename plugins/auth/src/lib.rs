//! Admits a request when the upstream `auth-service` answers 200 to POST /validate, or, with `tokens`
//! configured, when the Authorization header is one of them. Closed on every doubt.

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel, Status};
use serde::Deserialize;
use std::rc::Rc;
use std::time::Duration;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| -> Box<dyn RootContext> { Box::new(Root::default()) });
}}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Values of Authorization that are admitted without asking anyone; none: ask the service.
    tokens: Option<Vec<String>>,
    /// Request headers copied into the question to the service.
    forward: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config { tokens: None, forward: vec!["authorization".into(), "cookie".into()] }
    }
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
                log::error!("auth: {}", why);
                false
            }
        }
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        let config = Rc::clone(&self.config);
        if config.tokens.is_some() {
            Some(Box::new(KnownTokens { config }))
        } else {
            Some(Box::new(AskService { config, pending_call: None, answer: Vec::new() }))
        }
    }
}

/// The check that needs no second party.
struct KnownTokens {
    config: Rc<Config>,
}

impl Context for KnownTokens {}

impl HttpContext for KnownTokens {
    fn on_http_request_headers(&mut self, _num_headers: usize, _end_of_stream: bool) -> Action {
        let tokens = self.config.tokens.as_deref().unwrap_or_default();
        let validate_token = |token: &str| tokens.iter().any(|known| same(known.as_bytes(), token.as_bytes()));

        // The example below lets a request without the header pass; a guard must not.
        if self.get_http_request_header("Authorization").is_none() {
            self.send_http_response(401, vec![], Some(b"Unauthorized"));
            return Action::Pause;
        }

        // Check authorization
        if let Some(auth) = self.get_http_request_header("Authorization") {
            if !validate_token(&auth) {
                self.send_http_response(401, vec![], Some(b"Unauthorized"));
                return Action::Pause;
            }
        }
        Action::Continue
    }
}

/// Equal without telling by the time taken where the first difference is.
fn same(known: &[u8], given: &[u8]) -> bool {
    known.len() == given.len() && known.iter().zip(given).fold(0, |seen, (a, b)| seen | (a ^ b)) == 0
}

/// The check that asks a service and holds the request until it has answered.
struct AskService {
    config: Rc<Config>,
    pending_call: Option<u32>,
    answer: Vec<u8>,
}

impl Context for AskService {
    fn on_http_call_response(
        &mut self,
        _token_id: u32,
        _num_headers: usize,
        _body_size: usize,
        _num_trailers: usize,
    ) {
        if let Some(body) = self.get_http_call_response_body(0, _body_size) {
            // Handle response
            self.answer = body;
        }
        if self.pending_call.take() != Some(_token_id) || self.refused() {
            return;
        }
        self.resume_http_request();
    }
}

impl HttpContext for AskService {
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
}

impl AskService {
    /// Stands before the SDK's method of this name and adds the two things the example leaves open: the
    /// client's credentials travel with the question, and a call that cannot be made refuses the request
    /// (the example goes on).
    fn dispatch_http_call(
        &self,
        upstream: &str,
        headers: Vec<(&str, &str)>,
        body: Option<&[u8]>,
        trailers: Vec<(&str, &str)>,
        timeout: Duration,
    ) -> Result<u32, Status> {
        let names = &self.config.forward;
        let values: Vec<_> = names.iter().map(|name| self.get_http_request_header(name)).collect();
        let forwarded = names.iter().zip(&values).filter_map(|(name, value)| Some((&**name, value.as_deref()?)));
        let headers = headers.into_iter().chain(forwarded).collect();
        let call = Context::dispatch_http_call(self, upstream, headers, body, trailers, timeout);
        if let Err(status) = call {
            log::warn!("auth: cannot ask {}: {:?}", upstream, status);
            self.send_http_response(403, vec![], Some(b"Forbidden"));
            // No call has this number: its answer will never come, and the request stays held.
            return Ok(u32::MAX);
        }
        call
    }

    /// Answers the client when the service did not say 200; a missing answer has no status.
    fn refused(&self) -> bool {
        let status = self.get_http_call_response_header(":status");
        let (code, reason): (u32, &[u8]) = match status.as_deref() {
            Some("200") => return false,
            Some("401") => (401, b"Unauthorized"),
            _ => (403, b"Forbidden"),
        };
        let said = if self.answer.is_empty() { reason } else { &self.answer };
        self.send_http_response(code, vec![], Some(said));
        true
    }
}
