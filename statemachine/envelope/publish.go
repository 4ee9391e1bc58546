package envelope

import (
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// PublishMember is the body of KindPublishMember: what a started member says
// of itself.
type PublishMember struct {
	ID         uint64
	Name       string
	ClientURLs []string
	// Incarnation names the life of the member's data directory; 0 is unknown.
	Incarnation uint64
}

// Field numbers, as in envelope.proto.
const (
	publishID          = 1
	publishName        = 2
	publishClientURL   = 3
	publishIncarnation = 4
)

// Encode refuses text that is not UTF-8: it would come back to every client
// that lists members, in a message that cannot be sent.
func (p PublishMember) Encode() ([]byte, error) {
	b := appendVarint(nil, publishID, p.ID)
	text := func(num protowire.Number, s string) error {
		b = protowire.AppendTag(b, num, protowire.BytesType)
		b = protowire.AppendString(b, s)
		return checkText(num, s)
	}
	if p.Name != "" {
		if err := text(publishName, p.Name); err != nil {
			return nil, err
		}
	}
	for _, u := range p.ClientURLs {
		if err := text(publishClientURL, u); err != nil {
			return nil, err
		}
	}
	return appendVarint(b, publishIncarnation, p.Incarnation), nil
}

// DecodePublishMember reverses Encode. It copies what it keeps.
func DecodePublishMember(data []byte) (PublishMember, error) {
	var p PublishMember
	err := eachField(data, func(num protowire.Number, v uint64, b []byte) error {
		switch num {
		case publishID:
			p.ID = v
		case publishName:
			p.Name = string(b)
			return checkText(num, p.Name)
		case publishClientURL:
			p.ClientURLs = append(p.ClientURLs, string(b))
			return checkText(num, string(b))
		case publishIncarnation:
			p.Incarnation = v
		}
		return nil
	})
	if err != nil {
		return PublishMember{}, fmt.Errorf("publish member: %w", err)
	}
	return p, nil
}

func checkText(num protowire.Number, s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("%w: field %d is not UTF-8", ErrMalformed, num)
	}
	return nil
}
