impl RootContext for MyPlugin {
    fn on_configure(&mut self, _plugin_configuration_size: usize) -> bool {
        if let Some(config) = self.get_plugin_configuration() {
            // Parse JSON config
            let config: MyConfig = serde_json::from_slice(&config).unwrap();
            self.config = config;
        }
        true
    }
}
