"""DNS records under a public key, as pkarr has them: https://pkarr.org."""
