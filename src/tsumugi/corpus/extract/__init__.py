"""Text out of documentation formats: LibreOffice help pages (HTML) and manual pages (roff)."""
