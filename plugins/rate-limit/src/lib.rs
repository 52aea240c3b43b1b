//! Holds requests to `requests_per_second` with bursts of `burst`, counted over all instances of the plugin.

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel, Status};
use serde::Deserialize;
use std::time::{Duration, UNIX_EPOCH};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| -> Box<dyn RootContext> { Box::new(MyPlugin::default()) });
}}

/// Clients are counted in this many buckets: shared data grows by no more than that, whoever asks.
const BUCKETS: u64 = 8192;
/// Attempts of one request to write its arrival when other instances write the same bucket.
const ATTEMPTS: u32 = 16;

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct MyConfig {
    requests_per_second: f64,
    burst: Option<f64>,
    #[serde(default)]
    per: Per,
}

/// What shares one limit.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Per {
    Route,
    Client,
}

impl Default for Per {
    fn default() -> Self {
        Per::Route
    }
}

impl Default for MyConfig {
    fn default() -> Self {
        MyConfig { requests_per_second: 100.0, burst: None, per: Per::Route }
    }
}

impl MyConfig {
    /// Nanoseconds between two requests at the steady rate.
    fn interval(&self) -> u64 {
        (1e9 / self.requests_per_second) as u64
    }

    /// Nanoseconds that a client may be ahead of the steady rate.
    fn slack(&self) -> u64 {
        let burst = self.burst.unwrap_or(self.requests_per_second).max(1.0);
        (self.interval() as f64 * (burst - 1.0)) as u64
    }

    fn usable(&self) -> bool {
        self.requests_per_second > 0.0 && self.requests_per_second <= 1e9 && self.burst.unwrap_or(1.0) >= 1.0
    }
}

#[derive(Default)]
struct MyPlugin {
    config: MyConfig,
}

impl Context for MyPlugin {}

impl RootContext for MyPlugin {
    fn on_configure(&mut self, _plugin_configuration_size: usize) -> bool {
        if let Some(config) = self.get_plugin_configuration() {
            // Parse JSON config
            let config: MyConfig = serde_json::from_slice(&config).unwrap();
            self.config = config;
        }
        if !self.config.usable() {
            log::error!("rate-limit: requests_per_second must be above 0 and burst at least 1");
            return false;
        }
        true
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(RateLimit { config: self.config.clone() }))
    }
}

struct RateLimit {
    config: MyConfig,
}

impl Context for RateLimit {}

impl HttpContext for RateLimit {
    fn on_http_request_headers(&mut self, _num_headers: usize, _end_of_stream: bool) -> Action {
        let now = self.get_current_time().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos() as u64;
        match self.admit(&self.key(), now) {
            Ok(()) => Action::Continue,
            Err(wait) => {
                self.count_refused();
                let seconds = (wait / 1_000_000_000 + 1).to_string();
                self.send_http_response(429, vec![("retry-after", &seconds)], Some(b"Too Many Requests"));
                Action::Pause
            }
        }
    }
}

impl RateLimit {
    /// The shared-data key that this request is counted under.
    fn key(&self) -> String {
        let text = |path| self.get_property(path).map(|raw| String::from_utf8_lossy(&raw).into_owned());
        let route = text(vec!["route", "id"]).or_else(|| text(vec!["xds", "route_name"])).unwrap_or_default();
        match self.config.per {
            Per::Route => format!("rate:{}", route),
            Per::Client => {
                let address = text(vec!["source", "address"]).unwrap_or_default();
                format!("rate:{}:{}", route, bucket(host(&address)))
            }
        }
    }

    /// Books one request arriving at `now` (ns); Err holds the ns until one would be admitted.
    ///
    /// The bucket is one number, the time at which it will be empty again (the generic cell rate algorithm).
    fn admit(&self, key: &str, now: u64) -> Result<(), u64> {
        for _ in 0..ATTEMPTS {
            let (data, cas) = self.get_shared_data(key);
            let empty_at = data.and_then(|raw| raw.try_into().ok()).map_or(now, u64::from_le_bytes);
            let next = book(empty_at, now, self.config.interval(), self.config.slack())?;
            match self.set_shared_data(key, Some(&next.to_le_bytes()), cas) {
                Err(Status::CasMismatch) => continue,
                // A store that is full cannot count: the limit protects, so it closes.
                Err(_) => return Err(0),
                Ok(()) => return Ok(()),
            }
        }
        Err(0)
    }

    /// Counts refusals for the log; two instances may overwrite each other here, and that is good enough.
    #[allow(unused_must_use)]
    fn count_refused(&self) {
        let mut before = 0;
        // Get shared data
        if let (Some(data), _) = self.get_shared_data("counter") {
            let count = u64::from_le_bytes(data.try_into().unwrap());
            before = count;
        }

        let count: u64 = before + 1;
        // Set shared data
        self.set_shared_data("counter", Some(&count.to_le_bytes()), None);
        if count.is_power_of_two() {
            log::info!("rate-limit: {} requests refused so far", count);
        }
    }
}

/// The new empty-again time after one more request, or the ns to wait (all times in ns).
fn book(empty_at: u64, now: u64, interval: u64, slack: u64) -> Result<u64, u64> {
    let start = empty_at.max(now);
    let ahead = start - now;
    if ahead > slack {
        return Err(ahead - slack);
    }
    Ok(start + interval)
}

/// `10.0.0.1:443` and `[::1]:443` without their ports: a client's next connection has another one.
fn host(address: &str) -> &str {
    match address.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => address,
    }
}

/// FNV-1a, folded into the number of buckets.
fn bucket(text: &str) -> u64 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (hash ^ (hash >> 32)) % BUCKETS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_the_next_one_waits() {
        let (interval, slack, now) = (100, 200, 1_000);
        let first = book(now, now, interval, slack).unwrap();
        let second = book(first, now, interval, slack).unwrap();
        let third = book(second, now, interval, slack).unwrap();
        assert_eq!(book(third, now, interval, slack), Err(100));
        assert_eq!(book(third, now + 100, interval, slack), Ok(1_400));
    }

    #[test]
    fn an_idle_bucket_is_no_bigger_than_the_burst() {
        assert_eq!(book(5, 1_000_000, 100, 0), Ok(1_000_100));
    }

    #[test]
    fn the_port_is_not_part_of_a_client() {
        assert_eq!(host("10.0.0.1:443"), "10.0.0.1");
        assert_eq!(host("[::1]:443"), "[::1]");
        assert_eq!(host("unix"), "unix");
    }
}
