// Package web is the sample application: a web server that says who answered and who asked. It shows load balancing (the host
// name), replacement (the task), and the client's address as the task sees it. It ends in good order on SIGTERM, so that a
// rolling update loses no request.
package web
