//! Addresses of cameras.

/// An address, and who logs in there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// The address without user and password.
    pub uri: String,
    /// The user.
    pub user: Option<String>,
    /// Whether there was a password.
    pub password: bool,
}

/// Takes user and password out of an address.
pub(super) fn split(uri: &str) -> Address {
    let plain = || Address { uri: uri.into(), user: None, password: false };
    let Some((scheme, rest)) = uri.split_once("://") else { return plain() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let Some((login, host)) = authority.rsplit_once('@') else { return plain() };
    let (user, password) = login.split_once(':').map_or((login, false), |(user, _)| (user, true));
    Address { uri: format!("{scheme}://{host}{path}"), user: Some(decoded(user)).filter(|u| !u.is_empty()), password }
}

/// The text of a part of an address: `%40` is `@`.
pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let code = after.get(..2).filter(|_| *first == b'%');
        let code = code.and_then(|c| std::str::from_utf8(c).ok()).and_then(|c| u8::from_str_radix(c, 16).ok());
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_are_taken_out() {
        let address = split("rtsp://us%40er:p@ss:w@10.0.0.5:554/a/b?c=d@e");
        assert_eq!(address.uri, "rtsp://10.0.0.5:554/a/b?c=d@e");
        assert_eq!((address.user.as_deref(), address.password), (Some("us@er"), true));
        let open = split("rtsp://10.0.0.5/a@b");
        assert_eq!((open.uri.as_str(), open.user, open.password), ("rtsp://10.0.0.5/a@b", None, false));
        assert_eq!(decoded("100%"), "100%");
    }
}
