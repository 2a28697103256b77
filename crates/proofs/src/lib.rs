//! Programs that prove the promises of actix-realtime: power cuts, kills, simulation.
