//! What the fuzz target `site` and tests/fuzz_site.rs share.

/// Any text as a site's description, in both of its formats; whether the file `name` says is good.
pub fn site(name: &str, data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let read = |file: &str| gstvigil::site::read::read_text(text, file, std::path::Path::new("/nowhere"));
    // Each is either understood or told why not.
    for file in ["site.toml", "site.json"] {
        let (document, problems) = read(file);
        assert!(document.is_some() || problems.has_errors());
        if let Some(document) = document {
            for id in document.description.camera.keys() {
                let options = gstvigil::site::merge::camera_options(&document.description, id);
                let _ = gstvigil::site::merge::profile_of(&document.description, &options);
            }
        }
    }
    !read(name).1.has_errors()
}
