"""Import paths of HPE's client that programs name beside those of the frameworks."""
