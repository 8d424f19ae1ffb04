"""A small trained network and the images it was trained on, for use without internet or downloads."""
