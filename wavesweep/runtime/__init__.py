"""What any long job needs: atomic records and locks, progress, signals, devices and seeds. Imports only `errors`."""
