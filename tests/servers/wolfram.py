"""Wolfram Alpha's Full Results API, `GET /v2/query`, as its reference documents it, and the pictures it refers to."""

from __future__ import annotations

from base64 import b64decode
from urllib.parse import parse_qsl, urlsplit
from xml.sax.saxutils import escape, quoteattr

from .base import Answer, Request, Server

GIF = b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")

UNKNOWN = """<queryresult success='false' error='false' numpods='0' timedout='' parsetimedout='false' version='2.6'>
 <didyoumeans count='2'>
  <didyoumean score='0.42' level='medium'>frances split</didyoumean>
  <didyoumean score='0.2' level='low'>france split</didyoumean>
 </didyoumeans>
 <tips count='1'><tip text='Check your spelling, and use English' /></tips>
</queryresult>"""
SLOW = "<queryresult success='false' error='false' numpods='0' timedout='Numeric' parsetimedout='false'></queryresult>"
NOTHING = "<queryresult success='false' error='false' numpods='0' timedout='' parsetimedout='false'></queryresult>"
INVALID = (
    "<queryresult success='false' error='true' numpods='0'>"
    "<error><code>1</code><msg>Invalid appid {}</msg></error></queryresult>"
)


def pod(title: str, text: str, picture: str = "", *, primary: bool = False) -> str:
    image = f"<img src={quoteattr(picture)} alt='' title='' width='300' type='Default' />" if picture else ""
    return (
        f"<pod title={quoteattr(title)} scanner='Identity' id={quoteattr(title)} position='100' error='false'"
        f" numsubpods='1'{' primary=' + quoteattr('true') if primary else ''}>"
        f"<subpod title=''>{image}<plaintext>{escape(text)}</plaintext></subpod></pod>"
    )


def answered(*pods: str) -> str:
    return (
        f"<queryresult success='true' error='false' numpods='{len(pods)}' datatypes='' timedout='' timing='0.8'"
        f" parsetimedout='false' version='2.6'>{''.join(pods)}</queryresult>"
    )


class WolframServer(Server):
    """Answers with `xml`; `/plot.gif` is a picture."""

    def __init__(self, xml: str = "", key: str = "WOLF-SECRETKEY") -> None:
        super().__init__()
        self.xml = xml
        self.key = key
        self.content_type = "text/xml;charset=utf-8"  # the service has sent it with a blank in it, too

    async def answer(self, request: Request, answer: Answer) -> None:
        parts = urlsplit(request.path)
        sent = dict(parse_qsl(parts.query)).get("appid", "")
        if parts.path == "/plot.gif":
            await answer.whole(200, GIF, "image/gif")
        elif parts.path == "/broken.gif":
            await answer.whole(500, b"", "text/plain")
        elif parts.path != "/v2/query":
            await answer.whole(404, b"not found", "text/plain")
        else:
            xml = self.xml if sent == self.key else INVALID.format(sent)
            xml = xml.replace("ORIGIN", self.origin)
            await answer.whole(200, f"<?xml version='1.0' encoding='UTF-8'?>\n{xml}".encode(), self.content_type)
