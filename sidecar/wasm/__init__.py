"""The Proxy-Wasm host: engine seam, modules, contexts and host functions."""
