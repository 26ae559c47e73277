"""Training: the loop (`fit`) and what it leaves behind (`runs`)."""
