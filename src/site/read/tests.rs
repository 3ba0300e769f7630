use super::*;

fn told(text: &str) -> String {
    read_text(text, "site.toml", Path::new("/etc/vigil")).1.to_string()
}

#[test]
fn x() {
    println!("{}", serde_json::to_string_pretty(&*DESCRIPTION).unwrap());
    println!(
        "{}",
        told(
            "format = 1\nname = \"a\"\n[camera.gate]\nuri = 5\nlatncy = \"5s\"\npassword = \"geheim\"\n[camera.gate]\n"
        )
    );
}
