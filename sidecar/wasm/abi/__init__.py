"""The Proxy-Wasm ABI: what a module may import, and what each import does."""
