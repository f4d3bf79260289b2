"""What every layer uses: errors, records, configuration, files, devices, progress, resources."""
