"""Sample encoders: a sample's fields to the bytes that go out."""
