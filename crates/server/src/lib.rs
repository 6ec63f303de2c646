//! The server: configuration, purchase, settle, control, web.
