// Get client address
let addr = self.get_property(vec!["source", "address"]);

// Get route ID
let route = self.get_property(vec!["route", "id"]);

// Get request ID
let req_id = self.get_property(vec!["request", "id"]);
