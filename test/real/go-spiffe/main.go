// A workload as others write it: go-spiffe, told where a Workload API is, prints what it was given as JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(address, audience string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	// The sources below wait for an identity until the time is over; one call says at once that there is none.
	if _, err := workloadapi.FetchX509SVID(ctx, workloadapi.WithAddr(address)); err != nil {
		return fmt.Errorf("no x509 svid: %w", err)
	}
	at := workloadapi.WithClientOptions(workloadapi.WithAddr(address))
	x509Source, err := workloadapi.NewX509Source(ctx, at)
	if err != nil {
		return fmt.Errorf("x509 source: %w", err)
	}
	defer x509Source.Close()
	svid, err := x509Source.GetX509SVID()
	if err != nil {
		return fmt.Errorf("x509 svid: %w", err)
	}
	id, _, err := x509svid.Verify(svid.Certificates, x509Source)
	if err != nil {
		return fmt.Errorf("the x509 svid does not verify against the bundle: %w", err)
	}
	jwtSource, err := workloadapi.NewJWTSource(ctx, at)
	if err != nil {
		return fmt.Errorf("jwt source: %w", err)
	}
	defer jwtSource.Close()
	token, err := jwtSource.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience})
	if err != nil {
		return fmt.Errorf("jwt svid: %w", err)
	}
	checked, err := jwtsvid.ParseAndValidate(token.Marshal(), jwtSource, []string{audience})
	if err != nil {
		return fmt.Errorf("the jwt svid does not verify against the bundle: %w", err)
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"x509":     id.String(),
		"serial":   svid.Certificates[0].SerialNumber.String(),
		"jwt":      checked.ID.String(),
		"audience": checked.Audience,
	})
}
