// Set shared data
self.set_shared_data("counter", Some(&count.to_le_bytes()), None);

// Get shared data
if let (Some(data), _) = self.get_shared_data("counter") {
    let count = u64::from_le_bytes(data.try_into().unwrap());
}
