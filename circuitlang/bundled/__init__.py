"""A small trained network and the pictures it was trained on, for use without internet or downloads."""
