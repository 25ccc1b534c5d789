//! The settings file.

use std::path::Path;

use crate::config::Settings;

/// Text that may be a settings file.
pub(super) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Settings::parse(text, Path::new("settings.toml")) {
        Ok(settings) => {
            assert_eq!(settings.clone().or(Settings::default()), settings);
            assert_eq!(Settings::default().or(settings.clone()), settings);
            // Whether a host has addresses is asked of the network, and a folder of the disk.
            let asks = |address: &String| address.contains(|c: char| c.is_ascii_alphabetic());
            let addresses = settings.kafka.iter().flatten().chain(&settings.http);
            if settings.data.is_none() && !addresses.into_iter().any(asks) {
                let valid = settings.validate();
                let _ = valid.map_err(|error| assert!(!error.to_string().is_empty()));
            }
        }
        Err(error) => assert!(error.to_string().contains("settings.toml"), "{error}"),
    }
}
