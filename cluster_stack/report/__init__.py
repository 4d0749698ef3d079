"""What the offline commands show: as text, as JSON, as a picture. Imports no Pulumi and asks nobody."""
