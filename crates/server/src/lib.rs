//! The server side of actix-realtime, embeddable in any actix-web app.
