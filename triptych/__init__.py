"""What a user of a Triptych service imports: `triptych.client`, and the command `triptych`."""
