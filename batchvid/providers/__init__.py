"""What a service speaks: requests and answers as values, and the connections that carry them."""
