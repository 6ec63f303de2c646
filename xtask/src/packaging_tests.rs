//! Checks the files in `packaging`.

use std::path::{Path, PathBuf};

fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(name)
}

#[test]
fn pods_get_no_variables_about_services() {
    let mut pods = 0;
    for entry in std::fs::read_dir(packaging("kubernetes")).expect("a directory") {
        let path = entry.expect("an entry").path();
        let manifest = std::fs::read_to_string(&path).expect("a manifest");
        for object in manifest.split("\n---\n") {
            let kind = object.lines().find_map(|line| line.strip_prefix("kind: "));
            if matches!(kind, Some("Deployment" | "StatefulSet")) {
                let has_setting = object.contains("\n      enableServiceLinks: false\n");
                assert!(has_setting, "{}: set enableServiceLinks: false", path.display());
                pods += 1;
            }
        }
    }
    assert_eq!(pods, 3);
}

#[test]
fn nginx_passes_the_host_on_with_its_port() {
    for file in ["nginx.conf", "../docs/front-door.md"] {
        let text = std::fs::read_to_string(packaging(file)).expect("a file");
        assert_eq!(text.matches("proxy_set_header Host $http_host;").count(), 2, "{file}");
        assert!(!text.contains("Host $host;"), "{file}: $host lacks the port");
    }
}
