package api

import "net/http"

func (s *Server) archiveGet(http.ResponseWriter, *http.Request) error  { return errNoPart("archive") }
func (s *Server) archiveHead(http.ResponseWriter, *http.Request) error { return errNoPart("archive") }
func (s *Server) archivePut(http.ResponseWriter, *http.Request) error  { return errNoPart("archive") }
