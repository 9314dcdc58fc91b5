/// What one connection agreed on: protocol version, output recipe, up to 255 input recipes. Plain data.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    _skeleton: u8,
}

/// Fields of one recipe.
#[derive(Clone, Copy, Debug)]
pub struct Recipe<'a> {
    _skeleton: &'a [u8],
}
