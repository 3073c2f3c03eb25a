"""`recitative serve`: a REST API, and the page that uses it to hear emotion."""
