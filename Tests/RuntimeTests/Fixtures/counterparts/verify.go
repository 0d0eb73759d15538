// Verifies certificates of endorsement keys as a program in Go does: verify CA CERTIFICATE...
package main

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"os"
)

func read(path string) *x509.Certificate {
	content, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	certificate, err := x509.ParseCertificate(content)
	if err != nil {
		panic(err)
	}
	return certificate
}

func main() {
	roots := x509.NewCertPool()
	roots.AddCert(read(os.Args[1]))
	purpose := asn1.ObjectIdentifier{2, 23, 133, 8, 1}
	for _, path := range os.Args[2:] {
		certificate := read(path)
		if _, err := certificate.Verify(x509.VerifyOptions{
			Roots:     roots,
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		}); err != nil {
			panic(err)
		}
		if len(certificate.UnhandledCriticalExtensions) != 0 || certificate.IsCA {
			panic("it is critical in what Go does not know, or an authority")
		}
		if len(certificate.UnknownExtKeyUsage) != 1 || !certificate.UnknownExtKeyUsage[0].Equal(purpose) {
			panic("it is for another purpose")
		}
		fmt.Println(certificate.URIs[0], certificate.Subject.CommonName)
	}
}
