//! The README's program is a program.

mod native;

use std::process::Command;

#[test]
fn the_program_in_the_readme_compiles_and_is_short() {
    let readme = std::fs::read_to_string(native::package().join("README.md")).expect("README.md");
    let code = readme.split("```c\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a C program");
    assert!(code.lines().count() <= 38, "{} lines are no longer a short program", code.lines().count());
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme");
    std::fs::create_dir_all(&folder).expect("folder");
    let source = folder.join("program.c");
    std::fs::write(&source, code).expect("source");
    let library = native::library();
    native::succeed(
        Command::new("cc")
            .args(["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wno-unused-result", "-I"])
            .arg(native::package().join("include"))
            .arg(&source)
            .arg(&library)
            .arg("-o")
            .arg(folder.join("program")),
    );
    // The program asks for the library by its SONAME.
    let named = folder.join("libmgw.so.0");
    let _ = std::fs::remove_file(&named);
    std::os::unix::fs::symlink(&library, &named).expect("link to the library");
    // Without its configuration it says so and ends with 1.
    let output = native::run(Command::new(folder.join("program")).env("LD_LIBRARY_PATH", &folder).current_dir(&folder));
    assert_eq!(output.status.code(), Some(1));
    assert!(native::told(&output).contains("mgw.toml"), "{}", native::told(&output));
}
