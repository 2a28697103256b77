//! WebSocket links of actix-realtime on awc.
